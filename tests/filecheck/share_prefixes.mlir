// RUN: weft opt %s -p split-phases,share-prefixes{least-tokens=300},block-frequency,annotate-costs
// The rules are prefilled once, before anything is heard, for both calls and every turn of the loop; "short" is not worth a pass over the weights.
func.func @ask(%speech: !agent.audio) -> !agent.text attributes {agent.graph} {
  %text = media.transcribe "hear"(%speech) {model = "stt", core_s = 0.1 : f64} : (!agent.audio) -> !agent.text
  %chat = data.apply "ask"(%text) function "ask" {core_s = 0.001 : f64} : (!agent.text) -> !agent.messages
  cf.br ^think
^think:
  %reply = llm.call "think"(%chat) model "llama-3-8b" {isl = 500 : i64, osl = 40 : i64, max_tokens = 96 : i64, prefix = "rules", prefix_tokens = 400 : i64} : (!agent.messages) -> !agent.text
  %again = agent.choose "again"(%reply) function "again" {core_s = 0.001 : f64} : (!agent.text) -> i1
  cf.cond_br %again, ^think, ^sum {agent.weights = [0.5, 0.5]}
^sum:
  %sum = llm.call "sum"(%chat) model "llama-3-8b" {isl = 450 : i64, osl = 40 : i64, max_tokens = 96 : i64, prefix = "rules", prefix_tokens = 400 : i64} : (!agent.messages) -> !agent.text
  %short = llm.call "short"(%chat) model "llama-3-8b" {isl = 450 : i64, osl = 40 : i64, max_tokens = 96 : i64, prefix = "brief", prefix_tokens = 20 : i64} : (!agent.messages) -> !agent.text
  func.return %sum : !agent.text
}
// CHECK:      %rules_prefix = llm.prefix "rules.prefix" model "llama-3-8b" {prefix = "rules", prefix_tokens = 400 : i64, isl = 400 : i64
// CHECK-SAME: visits = 1.0
// CHECK-SAME: kv_bytes = 52428800 : i64
// CHECK-NEXT: media.transcribe
// CHECK:      %think_kv = llm.extend "think.prefill"(%rules_prefix, %chat) model "llama-3-8b"
// CHECK-SAME: visits = 2.0
// CHECK-SAME: kv_bytes = 13107200 : i64
// CHECK:      llm.extend "sum.prefill"(%rules_prefix, %chat)
// CHECK:      llm.prefill "short.prefill"(%chat)
