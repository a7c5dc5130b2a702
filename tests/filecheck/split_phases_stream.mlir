// RUN: weft opt %s -p split-phases
// A reply in chunks stays one after the split, and both phases may still run any of the call's models.
func.func @brief(%chat: !agent.messages) -> !agent.audio attributes {agent.graph} {
  %reply = llm.call "sum"(%chat) model "llama-3-8b" {isl = 350 : i64, osl = 40 : i64, max_tokens = 96 : i64, models = ["llama-3-8b", "qwen2.5-7b"], chunk_tokens = 20 : i64} : (!agent.messages) -> !agent.stream<!agent.text>
  %speech = media.synthesize "speak"(%reply) {core_s = 0.1 : f64, voice = "en-us"} : (!agent.stream<!agent.text>) -> !agent.audio
  func.return %speech : !agent.audio
}
// CHECK:      llm.prefill "sum.prefill"(%chat) model "llama-3-8b"
// CHECK-SAME: models = ["llama-3-8b", "qwen2.5-7b"]
// CHECK-NEXT: llm.decode "sum.decode"(%sum_kv) model "llama-3-8b"
// CHECK-SAME: chunk_tokens = 20 : i64
// CHECK-SAME: -> !agent.stream<!agent.text>
// CHECK-NEXT: media.synthesize "speak"(%reply)
