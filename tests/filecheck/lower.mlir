// RUN: weft opt %s -p partition,insert-transfers,lower
// Each partition is a function of its own; the agent calls them where they stood, and a hand-off is one too. "note"
// waits for the reply of another pool, which waits for "ask": it cannot be in the partition of "ask".
fleet.pool @cpu on "epyc-9965" zone "a" {tp = 1 : i64, pp = 1 : i64, replicas = 1 : i64, batch_limit = 1 : i64, usd_per_hour = 1.0 : f64, utilisation = 0.5 : f64}
fleet.pool @p on "b200" zone "a" {tp = 1 : i64, pp = 1 : i64, replicas = 1 : i64, batch_limit = 1 : i64, usd_per_hour = 1.0 : f64, utilisation = 0.5 : f64}
fleet.pool @d on "gaudi3" zone "a" {tp = 1 : i64, pp = 1 : i64, replicas = 1 : i64, batch_limit = 8 : i64, usd_per_hour = 1.0 : f64, utilisation = 0.5 : f64}
func.func @ask(%speech: !agent.audio) -> !agent.text attributes {agent.graph} {
  %text = media.transcribe "hear"(%speech) {model = "m", core_s = 0.4 : f64, pool = @cpu} : (!agent.audio) -> !agent.text
  %chat = data.apply "ask"(%text) function "ask" {core_s = 1.0e-4 : f64, pool = @cpu} : (!agent.text) -> !agent.messages
  %kv = llm.prefill "think.prefill"(%chat) model "m" {isl = 8 : i64, osl = 4 : i64, max_tokens = 9 : i64, pool = @p} : (!agent.messages) -> !llm.kv<"m">
  %reply = llm.decode "think.decode"(%kv) model "m" {isl = 8 : i64, osl = 4 : i64, max_tokens = 9 : i64, pool = @d, visits = 2.0 : f64, handoff = {link = "roce-400g", bytes = 1024 : i64, latency_s = 0.001 : f64}} : (!llm.kv<"m">) -> !agent.text
  %note = data.apply "note"(%chat, %reply) function "note" {core_s = 1.0e-4 : f64, pool = @cpu} : (!agent.messages, !agent.text) -> !agent.text
  func.return %note : !agent.text
}
// CHECK: func.func @ask(%speech: !agent.audio) -> !agent.text attributes {agent.graph}
// CHECK-NEXT: %chat = func.call @hear(%speech) : (!agent.audio) -> !agent.messages
// CHECK-NEXT: %kv = func.call @think.prefill(%chat)
// CHECK-NEXT: [[MOVED:%kv_[0-9]+]] = func.call @think.kv(%kv)
// CHECK-NEXT: %reply = func.call @think.decode([[MOVED]])
// CHECK-NEXT: %note = func.call @note(%chat, %reply)
// CHECK-NEXT: func.return %note
// CHECK: func.func private @hear(%speech: !agent.audio) -> !agent.messages attributes {fleet.partition = "hear", pool = @cpu}
// CHECK: media.transcribe "hear"
// CHECK: data.apply "ask"
// CHECK-NEXT: func.return %chat
// CHECK: func.func private @think.prefill
// CHECK: func.func private @think.kv
// CHECK: func.func private @think.decode
// CHECK: func.func private @note
