// RUN: weft opt %s -p decompose-moe
// A placed step takes the parallelism of its pool: experts over data-parallel devices gather their rows first.
fleet.pool @gpu on "h100-sxm" zone "a" {tp = 2 : i64, pp = 1 : i64, dp = 2 : i64, ep = 4 : i64, replicas = 1 : i64, batch_limit = 1 : i64, usd_per_hour = 1.0 : f64, utilisation = 0.5 : f64, model = "mixtral-8x7b", precision = "fp16"}
func.func @ask(%chat: !agent.messages) -> !agent.text attributes {agent.graph} {
  %kv = llm.prefill "think.prefill"(%chat) model "mixtral-8x7b" {isl = 1000 : i64, osl = 10 : i64, max_tokens = 10 : i64, pool = @gpu} : (!agent.messages) -> !llm.kv<"mixtral-8x7b">
  %reply = llm.decode "think.decode"(%kv) model "mixtral-8x7b" {isl = 1000 : i64, osl = 10 : i64, max_tokens = 10 : i64, pool = @gpu} : (!llm.kv<"mixtral-8x7b">) -> !agent.text
  func.return %reply : !agent.text
}
// CHECK:      llm.gate_select "think.prefill.gate"
// CHECK-SAME: pool = @gpu, tp = 2 : i64, dp = 2 : i64, ep = 4 : i64
// CHECK-NEXT: llm.all_gather "think.prefill.gather"(%think_prefill_gate) shards 4 : i64 {pool = @gpu, bytes =
// CHECK-NEXT: llm.expert_prefill "think.prefill.experts"(%think_prefill_gather)
// CHECK-NEXT: llm.merge_experts "think.prefill.merge"
// CHECK-NEXT: %kv = llm.all_reduce "think.prefill.reduce"(%think_prefill_merge) shards 2 : i64
