// RUN: weft opt %s
// FAIL: agent.map "write": width is 0.0, must be above 0; give a larger width
func.func @report(%topics: !agent.messages) -> !agent.messages attributes {agent.graph} {
  %drafts = agent.map "write" @report(%topics) {width = 0.0 : f64} : (!agent.messages) -> !agent.messages
  func.return %drafts : !agent.messages
}
