// RUN: weft opt %s -p split-phases,place{rate-per-s=5.0},insert-transfers
// Of two models the cheaper one is placed: step, cache and pool name it, and the choice is gone.
func.func @ask(%chat: !agent.messages) -> !agent.text attributes {agent.graph} {
  %reply = llm.call "think"(%chat) model "llama-3-70b" {isl = 350 : i64, osl = 40 : i64, max_tokens = 96 : i64, models = ["llama-3-70b", "llama-3-8b"]} : (!agent.messages) -> !agent.text
  func.return %reply : !agent.text
}
// CHECK:      fleet.other_models = [{{.*}}model = "llama-3-70b"
// CHECK:      fleet.pool @{{.*}}model = "llama-3-8b"
// CHECK:      llm.prefill "think.prefill"(%chat) model "llama-3-8b"
// CHECK-NOT:  models =
// CHECK-SAME: -> !llm.kv<"llama-3-8b">
