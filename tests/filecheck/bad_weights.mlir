// RUN: weft opt %s
// FAIL: needs 2 probabilities that sum to 1
func.func @loop(%now: !agent.text) -> !agent.text attributes {agent.graph} {
  %c = agent.choose "again"(%now) function "again" {core_s = 1.0e-3 : f64} : (!agent.text) -> i1
  cf.cond_br %c, ^a, ^a {agent.weights = [0.5, 0.6]}
^a:
  func.return %now : !agent.text
}
