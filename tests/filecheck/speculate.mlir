// RUN: weft opt %s -p speculate{least-chance=0.6},block-frequency
// The look-up does not need the reply, so it starts beside the model: 1 run a run instead of 0.7. The order is a write and stays; so does what is too unlikely.
func.func @shop(%chat: !agent.messages, %question: !agent.text) -> !agent.text attributes {agent.graph} {
  %reply = llm.call "think"(%chat) model "m" {isl = 350 : i64, osl = 40 : i64, max_tokens = 96 : i64} : (!agent.messages) -> !agent.text
  %c = agent.choose "route"(%reply) function "route" {labels = ["look", "order", "end"], core_s = 0.001 : f64} : (!agent.text) -> i32
  cf.switch %c : i32, [default: ^look(%question : !agent.text), 1: ^order, 2: ^end] {agent.weights = [0.7, 0.2, 0.1]}
^look(%asked: !agent.text):
  %query = data.apply "query"(%asked) function "query" {core_s = 0.001 : f64} : (!agent.text) -> !agent.text
  %found = tool.invoke "stock"(%query) tool "stock" {effect = "reads", core_s = 1.0 : f64} : (!agent.text) -> !agent.text
  %sent = tool.invoke "order it"(%found) tool "order" {core_s = 0.1 : f64} : (!agent.text) -> !agent.text
  func.return %sent : !agent.text
^order:
  %price = tool.invoke "price"(%question) tool "price" {effect = "reads", core_s = 1.0 : f64} : (!agent.text) -> !agent.text
  func.return %price : !agent.text
^end:
  func.return %reply : !agent.text
}
// CHECK:      %reply = llm.call "think"
// CHECK:      %query = data.apply "query"(%question){{.*}}speculative = 1
// CHECK-NEXT: %found = tool.invoke "stock"(%query)
// CHECK-SAME: speculative = 1 : i64, visits = 1.0
// CHECK-NEXT: cf.switch
// CHECK:      ^look(%asked
// CHECK-NEXT: tool.invoke "order it"(%found)
// CHECK:      ^order:
// CHECK-NEXT: tool.invoke "price"
