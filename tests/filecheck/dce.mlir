// RUN: weft opt %s -p dce
// What nobody uses goes, a model's reply too, with what only it needed. Tools that may write stay, and so do people who are asked.
func.func @ask(%question: !agent.text) -> !agent.text attributes {agent.graph} {
  %chat = data.apply "ask"(%question) function "ask" {core_s = 0.001 : f64} : (!agent.text) -> !agent.messages
  %reply = llm.call "think"(%chat) model "m" {isl = 8 : i64, osl = 4 : i64, max_tokens = 9 : i64} : (!agent.messages) -> !agent.text
  %seen = tool.invoke "stock"(%question) tool "stock" {effect = "reads", core_s = 0.1 : f64} : (!agent.text) -> !agent.text
  %sent = tool.invoke "mail"(%question) tool "mail" {core_s = 0.1 : f64} : (!agent.text) -> !agent.text
  %answer = agent.interrupt "approve"(%question) {core_s = 0.0001 : f64} : (!agent.text) -> !agent.text
  func.return %question : !agent.text
}
// CHECK:      func.func @ask
// CHECK-NEXT: %sent = tool.invoke "mail"
// CHECK-NEXT: %answer = agent.interrupt "approve"
// CHECK-NEXT: func.return
