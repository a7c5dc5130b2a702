// RUN: weft opt %s -p block-frequency
// A loop taken with probability 1/2, three times at most: 1 + 1/2 + 1/4 + 1/8 visits of its header.
func.func @loop(%question: !agent.text) -> !agent.text attributes {agent.graph} {
  cf.br ^turn(%question : !agent.text)
^turn(%now: !agent.text):
  %again = agent.choose "again"(%now) function "again" {core_s = 1.0e-3 : f64} : (!agent.text) -> i1
  cf.cond_br %again, ^body, ^end {agent.weights = [0.5, 0.5], agent.at_most = 3 : i64}
^body:
  %next = tool.invoke "look_up"(%now) tool "search" {corpus = "c", core_s = 1.0e-3 : f64} : (!agent.text) -> !agent.text
  cf.br ^turn(%next : !agent.text)
^end:
  func.return %now : !agent.text
}
// CHECK: agent.choose "again"
// CHECK-SAME: visits = 1.875
// CHECK: tool.invoke "look_up"
// CHECK-SAME: visits = 8.75
