// RUN: weft opt %s
// FAIL: @nobody is no func.func of this module
func.func @report(%topics: !agent.messages) -> !agent.messages attributes {agent.graph} {
  %drafts = agent.map "write" @nobody(%topics) {width = 2.0 : f64} : (!agent.messages) -> !agent.messages
  func.return %drafts : !agent.messages
}
