// RUN: weft opt %s -p decompose-moe,expert-parallel
// The eight experts of every layer fall into two groups; the merge takes both.
fleet.pool @gpu on "h100-sxm" zone "a" {tp = 2 : i64, pp = 1 : i64, ep = 2 : i64, replicas = 1 : i64, batch_limit = 1 : i64, usd_per_hour = 1.0 : f64, utilisation = 0.5 : f64, model = "mixtral-8x7b", precision = "fp16"}
func.func @ask(%chat: !agent.messages) -> !agent.text attributes {agent.graph} {
  %kv = llm.prefill "think.prefill"(%chat) model "mixtral-8x7b" {isl = 1000 : i64, osl = 10 : i64, max_tokens = 10 : i64, pool = @gpu} : (!agent.messages) -> !llm.kv<"mixtral-8x7b">
  %reply = llm.decode "think.decode"(%kv) model "mixtral-8x7b" {isl = 1000 : i64, osl = 10 : i64, max_tokens = 10 : i64, pool = @gpu} : (!llm.kv<"mixtral-8x7b">) -> !agent.text
  func.return %reply : !agent.text
}
// CHECK:      %think_prefill_experts_0_ = llm.expert_prefill "think.prefill.experts[0]"(%think_prefill_gate)
// CHECK-SAME: first_expert = 0 : i64, experts = 4 : i64
// CHECK-NEXT: {{%.*}} = llm.expert_prefill "think.prefill.experts[1]"(%think_prefill_gate)
// CHECK-SAME: first_expert = 4 : i64, experts = 4 : i64
// CHECK-NEXT: llm.merge_experts "think.prefill.merge"(%think_prefill_experts_0_, {{%.*}}) phase "prefill"
