// RUN: weft opt %s
// FAIL: step 'x': stands in the graph twice
func.func @twice(%q: !agent.text) -> !agent.text attributes {agent.graph} {
  %a = data.apply "x"(%q) function "f" {core_s = 1.0e-3 : f64} : (!agent.text) -> !agent.text
  %b = data.apply "x"(%a) function "f" {core_s = 1.0e-3 : f64} : (!agent.text) -> !agent.text
  func.return %b : !agent.text
}
