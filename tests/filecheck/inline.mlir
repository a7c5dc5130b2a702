// RUN: weft opt %s -p inline
// A function goes in place, its steps named after the call; one with effects or control flow cuts the block in two, so that what follows the call comes after all of it. The function called twice has a `step` to tell its calls apart.
func.func @report(%question: !agent.text) -> !agent.text attributes {agent.graph} {
  %short = func.call @tidy(%question) {hint = {zone = "a"}} : (!agent.text) -> !agent.text
  %sent = func.call @send(%short) {step = "first"} : (!agent.text) -> !agent.text
  %again = func.call @send(%sent) : (!agent.text) -> !agent.text
  func.return %again : !agent.text
}
func.func @tidy(%text: !agent.text) -> !agent.text {
  %trimmed = data.apply "trim"(%text) function "trim" {core_s = 0.001 : f64} : (!agent.text) -> !agent.text
  func.return %trimmed : !agent.text
}
func.func @send(%text: !agent.text) -> !agent.text {
  %receipt = tool.invoke "mail"(%text) tool "mail" {core_s = 0.001 : f64} : (!agent.text) -> !agent.text
  func.return %text : !agent.text
}
// CHECK:      func.func @report
// CHECK-NEXT:   %trimmed = data.apply "tidy/trim"(%question) function "trim"
// CHECK-SAME:   hint = {zone = "a"}
// CHECK-NEXT:   cf.br ^first.enter
// CHECK-NEXT: ^first.enter(%text: !agent.text):
// CHECK-NEXT:   {{.*}} = tool.invoke "first/mail"(%text)
// CHECK-NEXT:   cf.br ^first.after(%text : !agent.text)
// CHECK-NEXT: ^first.after(%sent: !agent.text):
// CHECK-NEXT:   cf.br ^send.enter(%sent : !agent.text)
// CHECK-NEXT: ^send.enter(%text_1: !agent.text):
// CHECK-NEXT:   {{.*}} = tool.invoke "send/mail"(%text_1)
// CHECK:      ^send.after(%again: !agent.text):
// CHECK-NEXT:   func.return %again
// CHECK-NOT:  func.func @tidy
