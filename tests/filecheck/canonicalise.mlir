// RUN: weft opt %s -p canonicalise
// A choice between the same goes; blocks in a row become one, so that "hear" and "find" run side by side. The two mails stay in blocks of their own: their order can be seen.
func.func @ask(%speech: !agent.audio, %topic: !agent.text) -> !agent.text attributes {agent.graph} {
  %said = media.transcribe "hear"(%speech) {model = "stt", core_s = 0.1 : f64} : (!agent.audio) -> !agent.text
  cf.br ^next(%topic : !agent.text)
^next(%about: !agent.text):
  %found = tool.invoke "find"(%about) tool "search" {corpus = "c", core_s = 0.1 : f64} : (!agent.text) -> !agent.text
  %same = agent.choose "same"(%found) function "same" {core_s = 0.001 : f64} : (!agent.text) -> i1
  cf.cond_br %same, ^mail, ^mail {agent.weights = [0.5, 0.5]}
^mail:
  %first = tool.invoke "mail"(%said) tool "mail" {core_s = 0.1 : f64} : (!agent.text) -> !agent.text
  cf.br ^log
^log:
  %second = tool.invoke "log"(%found) tool "log" {core_s = 0.1 : f64} : (!agent.text) -> !agent.text
  func.return %found : !agent.text
^never:
  func.return %topic : !agent.text
}
// CHECK:      %said = media.transcribe "hear"
// CHECK-NEXT: %found = tool.invoke "find"(%topic)
// CHECK-NEXT: %same = agent.choose "same"
// CHECK-NEXT: %first = tool.invoke "mail"
// CHECK-NEXT: cf.br ^log
// CHECK-NEXT: ^log:
// CHECK-NEXT: %second = tool.invoke "log"
// CHECK-NEXT: func.return %found
// CHECK-NOT:  ^never
