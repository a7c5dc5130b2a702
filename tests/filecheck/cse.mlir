// RUN: weft opt %s -p cse
// Equal steps run once: transcription, retrieval, a model at temperature 0, also across blocks. Replies that are drawn, and tools that may write, are each their own; two reads are one unless something writes between them.
func.func @ask(%speech: !agent.audio, %chat: !agent.messages) -> (!agent.text, !agent.text, !agent.text, !agent.text) attributes {agent.graph} {
  %a = media.transcribe "hear"(%speech) {model = "stt", core_s = 0.1 : f64} : (!agent.audio) -> !agent.text
  %greedy = llm.call "rank"(%chat) model "m" {isl = 8 : i64, osl = 4 : i64, max_tokens = 9 : i64, temperature = 0.0 : f64} : (!agent.messages) -> !agent.text
  %r1 = tool.invoke "stock"(%a) tool "stock" {effect = "reads", core_s = 0.1 : f64} : (!agent.text) -> !agent.text
  %r2 = tool.invoke "stock again"(%a) tool "stock" {effect = "reads", core_s = 0.1 : f64} : (!agent.text) -> !agent.text
  %w = tool.invoke "order"(%r2) tool "order" {core_s = 0.1 : f64} : (!agent.text) -> !agent.text
  %r3 = tool.invoke "stock after"(%a) tool "stock" {effect = "reads", core_s = 0.1 : f64} : (!agent.text) -> !agent.text
  cf.br ^next
^next:
  %b = media.transcribe "hear again"(%speech) {model = "stt", core_s = 0.1 : f64} : (!agent.audio) -> !agent.text
  %equal = llm.call "rank again"(%chat) model "m" {isl = 8 : i64, osl = 4 : i64, max_tokens = 9 : i64, temperature = 0.0 : f64} : (!agent.messages) -> !agent.text
  %one = llm.call "idea"(%chat) model "m" {isl = 8 : i64, osl = 4 : i64, max_tokens = 9 : i64} : (!agent.messages) -> !agent.text
  %other = llm.call "other idea"(%chat) model "m" {isl = 8 : i64, osl = 4 : i64, max_tokens = 9 : i64} : (!agent.messages) -> !agent.text
  func.return %b, %equal, %one, %other : !agent.text, !agent.text, !agent.text, !agent.text
}
// CHECK:      %a = media.transcribe "hear"
// CHECK-NEXT: %greedy = llm.call "rank"
// CHECK-NEXT: %r1 = tool.invoke "stock"(%a)
// CHECK-NEXT: %w = tool.invoke "order"(%r1)
// CHECK-NEXT: %r3 = tool.invoke "stock after"(%a)
// CHECK-NEXT: cf.br ^next
// CHECK-NEXT: ^next:
// CHECK-NEXT: %one = llm.call "idea"
// CHECK-NEXT: %other = llm.call "other idea"
// CHECK-NEXT: func.return %a, %greedy, %one, %other
