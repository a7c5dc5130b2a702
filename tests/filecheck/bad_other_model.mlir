// RUN: weft opt %s
// FAIL: runs llama-3-70b on a KV cache of llama-3-8b
func.func @ask(%chat: !agent.messages) -> !agent.text attributes {agent.graph} {
  %kv = llm.prefill "p"(%chat) model "llama-3-8b" {isl = 1 : i64, osl = 1 : i64, max_tokens = 1 : i64} : (!agent.messages) -> !llm.kv<"llama-3-8b">
  %r = llm.decode "d"(%kv) model "llama-3-70b" {isl = 1 : i64, osl = 1 : i64, max_tokens = 1 : i64} : (!llm.kv<"llama-3-8b">) -> !agent.text
  func.return %r : !agent.text
}
