// RUN: weft opt %s -p stream-edges{chunk-tokens=15}
// A reply that is spoken comes in chunks; one that goes on to another block whole, or is too short, does not.
func.func @brief(%chat: !agent.messages) -> (!agent.audio, !agent.text) attributes {agent.graph} {
  %reply = llm.call "sum"(%chat) model "m" {isl = 350 : i64, osl = 40 : i64, max_tokens = 96 : i64} : (!agent.messages) -> !agent.text
  %speech = media.synthesize "speak"(%reply) {core_s = 0.1 : f64, voice = "en-us"} : (!agent.text) -> !agent.audio
  %note = data.apply "note"(%reply) function "note" {core_s = 0.1 : f64} : (!agent.text) -> !agent.text
  %short = llm.call "short"(%chat) model "m" {isl = 350 : i64, osl = 15 : i64, max_tokens = 96 : i64} : (!agent.messages) -> !agent.text
  %spoken = media.synthesize "speak short"(%short) {core_s = 0.1 : f64, voice = "en-us"} : (!agent.text) -> !agent.audio
  %returned = llm.call "whole"(%chat) model "m" {isl = 350 : i64, osl = 40 : i64, max_tokens = 96 : i64} : (!agent.messages) -> !agent.text
  %said = media.synthesize "speak whole"(%returned) {core_s = 0.1 : f64, voice = "en-us"} : (!agent.text) -> !agent.audio
  func.return %speech, %returned : !agent.audio, !agent.text
}
// CHECK:      %reply = llm.call "sum"
// CHECK-SAME: chunk_tokens = 15 : i64
// CHECK-SAME: -> !agent.stream<!agent.text>
// CHECK-NEXT: media.synthesize "speak"(%reply) {{.*}} : (!agent.stream<!agent.text>) -> !agent.audio
// CHECK-NEXT: data.apply "note"(%reply) {{.*}} : (!agent.stream<!agent.text>)
// CHECK-NEXT: llm.call "short"{{.*}} -> !agent.text
// CHECK:      llm.call "whole"{{.*}} -> !agent.text
