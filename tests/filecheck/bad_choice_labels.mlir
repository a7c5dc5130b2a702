// RUN: weft opt %s
// FAIL: agent.choose "route": gives i32 with 0 labels; a choice gives i1 without labels, or i32 with labels
func.func @route(%x: !agent.messages) -> !agent.messages attributes {agent.graph} {
  %c = agent.choose "route"(%x) function "route" {core_s = 0.001 : f64} : (!agent.messages) -> i32
  func.return %x : !agent.messages
}
