// RUN: weft opt %s
// FAIL: has prompts of 10 tokens with a prefix of 20
func.func @ask(%chat: !agent.messages) -> !agent.text attributes {agent.graph} {
  %r = llm.call "think"(%chat) model "m" {isl = 10 : i64, osl = 4 : i64, max_tokens = 9 : i64, prefix = "rules", prefix_tokens = 20 : i64} : (!agent.messages) -> !agent.text
  func.return %r : !agent.text
}
