// RUN: weft opt %s -p tensor-parallel
// Two shards read the prompt, each with its part of the heads; an all-reduce makes one cache of theirs.
fleet.pool @gpu on "h100-sxm" zone "a" {tp = 2 : i64, pp = 1 : i64, replicas = 1 : i64, batch_limit = 1 : i64, usd_per_hour = 1.0 : f64, utilisation = 0.5 : f64, model = "llama-3-8b", precision = "fp16"}
func.func @ask(%chat: !agent.messages) -> !agent.text attributes {agent.graph} {
  %kv = llm.prefill "think.prefill"(%chat) model "llama-3-8b" {isl = 1000 : i64, osl = 10 : i64, max_tokens = 10 : i64, pool = @gpu} : (!agent.messages) -> !llm.kv<"llama-3-8b">
  %reply = llm.decode "think.decode"(%kv) model "llama-3-8b" {isl = 1000 : i64, osl = 10 : i64, max_tokens = 10 : i64, pool = @gpu} : (!llm.kv<"llama-3-8b">) -> !agent.text
  func.return %reply : !agent.text
}
// CHECK:      llm.prefill "think.prefill.shard[0]"(%chat)
// CHECK-SAME: shard = 0 : i64, shards = 2 : i64
// CHECK-NEXT: llm.prefill "think.prefill.shard[1]"(%chat)
// CHECK-NEXT: %kv = llm.all_reduce "think.prefill.reduce"(%think_prefill_shard_0_, %think_prefill_shard_1_) shards 2 : i64 {pool = @gpu, bytes = 1048576000 : i64}
// CHECK-NEXT: llm.decode "think.decode.shard[0]"(%kv)
// CHECK-NEXT: llm.decode "think.decode.shard[1]"(%kv)
// CHECK-NEXT: %reply = llm.all_reduce "think.decode.reduce"
