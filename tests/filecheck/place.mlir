// RUN: weft opt %s -p block-frequency,place{fleet=default rate-per-s=50.0 compare=false serving=disaggregated}
// Each step gets a pool, what was assumed of it, and a decode the move of its cache; pools and the answer go onto the module.
func.func @ask(%chat: !agent.messages) -> !agent.text attributes {agent.graph} {
  %kv = llm.prefill "think.prefill"(%chat) model "llama-3-8b" {isl = 1000 : i64, osl = 10 : i64, max_tokens = 10 : i64} : (!agent.messages) -> !llm.kv<"llama-3-8b">
  %reply = llm.decode "think.decode"(%kv) model "llama-3-8b" {isl = 1000 : i64, osl = 10 : i64, max_tokens = 10 : i64} : (!llm.kv<"llama-3-8b">) -> !agent.text
  %found = tool.invoke "look_up"(%reply) tool "search" {corpus = "c", core_s = 0.02 : f64} : (!agent.text) -> !agent.text
  func.return %found : !agent.text
}
// CHECK: builtin.module attributes {fleet.answer = {objective = "usd_per_hour"
// CHECK: fleet.pool @"prefill-[[PREFILL:[a-z0-9-]+]]" on "[[PREFILL]]" zone "a"
// CHECK-SAME: model = "llama-3-8b", precision = "fp16"
// CHECK: fleet.pool @"cpu-{{.*}}" on
// CHECK: llm.prefill "think.prefill"
// CHECK-SAME: pool = @"prefill-[[PREFILL]]"
// CHECK-SAME: wait_s = {{.*}}low_s = {{.*}}s_per_input_token
// CHECK: llm.decode "think.decode"
// CHECK-SAME: pool = @"decode-
// CHECK-SAME: handoff = {link = "roce-400g", bytes = 131072000 : i64, source = "think.prefill"
// CHECK: tool.invoke "look_up"
// CHECK-SAME: pool = @"cpu-
