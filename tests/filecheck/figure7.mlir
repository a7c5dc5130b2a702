// RUN: weft opt %s -p split-phases
// The paper's Figure 7: Agent(tools=[Search(), Calculator()], memory=ConversationBuffer()).run(query), high level. The
// model is split into its phases; figure7_decomposed.mlir takes phases and tools apart as well.
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
// CHECK-NEXT: mem.load "recall"(%query) from "conversation"
// CHECK-NEXT: llm.prefill "think.prefill"(%chat) model "mixtral-8x7b"
// CHECK-NEXT: llm.decode "think.decode"(%think_kv) model "mixtral-8x7b"
// CHECK-NEXT: tool.invoke "search"(%call) tool "search"
// CHECK-NEXT: tool.invoke "calculate"(%docs) tool "calculator"
// CHECK-NEXT: mem.store "remember"(%number) into "conversation"
// CHECK-NEXT: func.return %kept
