// RUN: weft opt %s
// FAIL: llm.gate_select "g": gates a decode from !agent.messages; give it !llm.kv
func.func @ask(%chat: !agent.messages) -> !agent.text attributes {agent.graph} {
  %h = llm.gate_select "g"(%chat) phase "decode" model "mixtral-8x7b" {isl = 8 : i64, osl = 4 : i64, max_tokens = 9 : i64} : (!agent.messages) -> !llm.hidden<"mixtral-8x7b">
  %r = llm.merge_experts "m"(%h) phase "decode" model "mixtral-8x7b" {isl = 8 : i64, osl = 4 : i64, max_tokens = 9 : i64} : (!llm.hidden<"mixtral-8x7b">) -> !agent.text
  func.return %r : !agent.text
}
