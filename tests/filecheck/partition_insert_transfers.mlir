// RUN: weft opt %s -p partition,insert-transfers
// Steps that feed each other inside one pool form a partition; the cache crosses pools by a transfer on the receiver.
fleet.pool @cpu on "epyc-9965" zone "a" {tp = 1 : i64, pp = 1 : i64, replicas = 1 : i64, batch_limit = 1 : i64, usd_per_hour = 1.0 : f64, utilisation = 0.5 : f64}
fleet.pool @p on "b200" zone "a" {tp = 1 : i64, pp = 1 : i64, replicas = 1 : i64, batch_limit = 1 : i64, usd_per_hour = 1.0 : f64, utilisation = 0.5 : f64}
fleet.pool @d on "gaudi3" zone "a" {tp = 1 : i64, pp = 1 : i64, replicas = 1 : i64, batch_limit = 8 : i64, usd_per_hour = 1.0 : f64, utilisation = 0.5 : f64}
func.func @ask(%speech: !agent.audio) -> !agent.text attributes {agent.graph} {
  %text = media.transcribe "hear"(%speech) {model = "m", core_s = 0.4 : f64, pool = @cpu} : (!agent.audio) -> !agent.text
  %chat = data.apply "ask"(%text) function "ask" {core_s = 1.0e-4 : f64, pool = @cpu} : (!agent.text) -> !agent.messages
  %kv = llm.prefill "think.prefill"(%chat) model "m" {isl = 8 : i64, osl = 4 : i64, max_tokens = 9 : i64, pool = @p} : (!agent.messages) -> !llm.kv<"m">
  %reply = llm.decode "think.decode"(%kv) model "m" {isl = 8 : i64, osl = 4 : i64, max_tokens = 9 : i64, pool = @d, visits = 2.0 : f64, handoff = {link = "roce-400g", bytes = 1024 : i64, latency_s = 0.001 : f64}} : (!llm.kv<"m">) -> !agent.text
  func.return %reply : !agent.text
}
// CHECK: media.transcribe "hear"
// CHECK-SAME: partition = "hear"
// CHECK: data.apply "ask"
// CHECK-SAME: partition = "hear"
// CHECK: llm.prefill "think.prefill"
// CHECK-SAME: partition = "think.prefill"
// CHECK: [[MOVED:%kv_[0-9]+]] = kv.transfer "think.kv"(%kv) over "roce-400g"
// CHECK-SAME: bytes = 1024 : i64
// CHECK-SAME: assumed = {latency_s = 1.000000e-03 : f64}
// CHECK-SAME: pool = @d
// CHECK: llm.decode "think.decode"([[MOVED]])
// CHECK-NOT: handoff
