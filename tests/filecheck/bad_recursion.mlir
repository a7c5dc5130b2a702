// RUN: weft opt %s -p inline
// FAIL: function @a: calls itself: @a → @b → @a
func.func @agent(%q: !agent.text) -> !agent.text attributes {agent.graph} {
  %x = func.call @a(%q) : (!agent.text) -> !agent.text
  func.return %x : !agent.text
}
func.func @a(%q: !agent.text) -> !agent.text {
  %x = func.call @b(%q) : (!agent.text) -> !agent.text
  func.return %x : !agent.text
}
func.func @b(%q: !agent.text) -> !agent.text {
  %x = func.call @a(%q) : (!agent.text) -> !agent.text
  func.return %x : !agent.text
}
