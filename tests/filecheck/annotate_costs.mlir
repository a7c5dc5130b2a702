// RUN: weft opt %s -p annotate-costs
// Llama-3-8B, 1000 tokens: 2 flops a weight and token (the head runs once a sequence) plus attention; 128 KiB of cache a token at 16 bits.
func.func @ask(%chat: !agent.messages) -> !agent.text attributes {agent.graph} {
  %kv = llm.prefill "think.prefill"(%chat) model "llama-3-8b" {isl = 1000 : i64, osl = 10 : i64, max_tokens = 10 : i64} : (!agent.messages) -> !llm.kv<"llama-3-8b">
  %reply = llm.decode "think.decode"(%kv) model "llama-3-8b" {isl = 1000 : i64, osl = 10 : i64, max_tokens = 10 : i64} : (!llm.kv<"llama-3-8b">) -> !agent.text
  %found = tool.invoke "look_up"(%reply) tool "search" {corpus = "c", core_s = 0.02 : f64} : (!agent.text) -> !agent.text
  func.return %found : !agent.text
}
// CHECK: llm.prefill "think.prefill"
// CHECK-SAME: cost = {flops = 14{{[0-9]+}} : i64
// CHECK-SAME: kv_bytes = 131072000 : i64
// CHECK: llm.decode "think.decode"
// CHECK-SAME: memory_bytes = 15{{[0-9]+}} : i64
// CHECK: tool.invoke "look_up"
// CHECK-SAME: cost = {core_s = 2.000000e-02 : f64}
