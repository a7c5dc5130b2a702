// RUN: weft opt %s -p pipeline-parallel
// Three stages share the 32 layers; hidden states go from one to the next.
fleet.pool @gpu on "h100-sxm" zone "a" {tp = 1 : i64, pp = 3 : i64, replicas = 1 : i64, batch_limit = 1 : i64, usd_per_hour = 1.0 : f64, utilisation = 0.5 : f64, model = "llama-3-8b", precision = "fp16"}
func.func @ask(%chat: !agent.messages) -> !agent.text attributes {agent.graph} {
  %kv = llm.prefill "think.prefill"(%chat) model "llama-3-8b" {isl = 1000 : i64, osl = 10 : i64, max_tokens = 10 : i64, pool = @gpu} : (!agent.messages) -> !llm.kv<"llama-3-8b">
  %reply = llm.decode "think.decode"(%kv) model "llama-3-8b" {isl = 1000 : i64, osl = 10 : i64, max_tokens = 10 : i64, pool = @gpu} : (!llm.kv<"llama-3-8b">) -> !agent.text
  func.return %reply : !agent.text
}
// CHECK:      llm.prefill "think.prefill.stage[0]"(%chat)
// CHECK-SAME: first_layer = 0 : i64, layers = 10 : i64} : (!agent.messages) -> !llm.hidden<"llama-3-8b">
// CHECK-NEXT: fleet.send "think.prefill.stage[0].send"({{%.*}}) to @gpu {pool = @gpu, to_stage = 1 : i64, bytes = 8192000 : i64}
// CHECK-NEXT: fleet.recv "think.prefill.stage[1].recv"
// CHECK-NEXT: llm.prefill "think.prefill.stage[1]"
// CHECK-SAME: first_layer = 10 : i64, layers = 11 : i64} : (!llm.hidden<"llama-3-8b">) -> !llm.hidden<"llama-3-8b">
// CHECK:      %kv = llm.prefill "think.prefill.stage[2]"
// CHECK-SAME: first_layer = 21 : i64, layers = 11 : i64} : (!llm.hidden<"llama-3-8b">) -> !llm.kv<"llama-3-8b">
// CHECK-NEXT: llm.decode "think.decode.stage[0]"(%kv)
// CHECK:      %reply = llm.decode "think.decode.stage[2]"
// CHECK-SAME: -> !agent.text
