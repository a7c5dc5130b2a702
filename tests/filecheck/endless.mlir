// RUN: weft opt %s -p block-frequency
// FAIL: a cycle that is never left
func.func @loop(%q: !agent.text) -> !agent.text attributes {agent.graph} {
  cf.br ^turn(%q : !agent.text)
^turn(%now: !agent.text):
  %next = data.apply "x"(%now) function "f" {core_s = 1.0e-3 : f64} : (!agent.text) -> !agent.text
  cf.br ^turn(%next : !agent.text)
}
