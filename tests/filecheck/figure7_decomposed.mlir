// RUN: weft opt %s -p split-phases,decompose-moe{tp=2},decompose-tools
// The paper's Figure 7, decomposed: gate → tensor-parallel experts → merge → all-reduce in each phase, then the tools.
func.func @agent(%text: !agent.text) -> !agent.json attributes {agent.graph} {
  %query = agent.input "query"(%text) {core_s = 0.0001 : f64} : (!agent.text) -> !agent.text
  %chat = mem.load "recall"(%query) from "conversation" {core_s = 0.001 : f64} : (!agent.text) -> !agent.messages
  %call = llm.call "think"(%chat) model "mixtral-8x7b" {isl = 1000 : i64, osl = 100 : i64, max_tokens = 200 : i64} : (!agent.messages) -> !agent.text
  %docs = tool.invoke "search"(%call) tool "search" {corpus = "web", core_s = 0.02 : f64} : (!agent.text) -> !agent.docs
  %number = tool.invoke "calculate"(%docs) tool "calculator" {core_s = 0.001 : f64} : (!agent.docs) -> !agent.json
  %kept = mem.store "remember"(%number) into "conversation" {core_s = 0.001 : f64} : (!agent.json) -> !agent.json
  func.return %kept : !agent.json
}
// CHECK:      agent.input "query"
// CHECK-NEXT: mem.load "recall"
// CHECK-NEXT: %think_prefill_gate = llm.gate_select "think.prefill.gate"(%chat) phase "prefill" model "mixtral-8x7b"
// CHECK-SAME: tp = 2 : i64} : (!agent.messages) -> !llm.hidden<"mixtral-8x7b">
// CHECK-NEXT: %think_prefill_experts = llm.expert_prefill "think.prefill.experts"(%think_prefill_gate)
// CHECK-NEXT: %think_prefill_merge = llm.merge_experts "think.prefill.merge"(%think_prefill_experts) phase "prefill"
// CHECK-SAME: -> !llm.kv<"mixtral-8x7b">
// CHECK-NEXT: %think_kv = llm.all_reduce "think.prefill.reduce"(%think_prefill_merge) shards 2 : i64 {bytes =
// CHECK-NEXT: llm.gate_select "think.decode.gate"(%think_kv) phase "decode"
// CHECK-NEXT: llm.expert_decode "think.decode.experts"
// CHECK-NEXT: llm.merge_experts "think.decode.merge"
// CHECK-SAME: -> !agent.text
// CHECK-NEXT: %call = llm.all_reduce "think.decode.reduce"
// CHECK-NEXT: tool.lookup "search"(%call)
// CHECK-NEXT: tool.compute "calculate"(%docs)
// CHECK-NEXT: mem.store "remember"
// CHECK-NEXT: func.return
