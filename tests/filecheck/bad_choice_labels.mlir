// RUN: weft opt %s
// FAIL: route: a choice gives i1, or i32 with at least 2 labels; this one gives i32 with 0
func.func @route(%x: !agent.messages) -> !agent.messages attributes {agent.graph} {
  %c = agent.choose "route"(%x) function "route" {core_s = 0.001 : f64} : (!agent.messages) -> i32
  func.return %x : !agent.messages
}
