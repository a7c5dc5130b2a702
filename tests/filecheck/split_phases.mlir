// RUN: weft opt %s -p split-phases
// The call becomes two phases joined by a cache of its model; sizes and hints go to both.
func.func @ask(%chat: !agent.messages) -> !agent.text attributes {agent.graph} {
  %reply = llm.call "think"(%chat) model "llama-3-8b" {isl = 350 : i64, osl = 40 : i64, max_tokens = 96 : i64, hint = {device = "b200"}} : (!agent.messages) -> !agent.text
  func.return %reply : !agent.text
}
// CHECK:      %think_kv = llm.prefill "think.prefill"(%chat) model "llama-3-8b"
// CHECK-SAME: isl = 350 : i64
// CHECK-SAME: hint = {device = "b200"}
// CHECK-SAME: -> !llm.kv<"llama-3-8b">
// CHECK-NEXT: %reply = llm.decode "think.decode"(%think_kv) model "llama-3-8b"
// CHECK-SAME: hint = {device = "b200"}
// CHECK-NEXT: func.return %reply
