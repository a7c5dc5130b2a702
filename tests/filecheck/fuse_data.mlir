// RUN: weft opt %s -p fuse-data
// A chain of data steps is one step with the work of all; one whose value is read twice, or that may write, stays.
func.func @ask(%question: !agent.text) -> (!agent.messages, !agent.text) attributes {agent.graph} {
  %a = data.apply "trim"(%question) function "trim" {core_s = 0.001 : f64} : (!agent.text) -> !agent.text
  %b = data.apply "lower"(%a) function "lower" {core_s = 0.002 : f64} : (!agent.text) -> !agent.text
  %c = data.apply "note"(%b) function "note" {core_s = 0.003 : f64, effect = "writes"} : (!agent.text) -> !agent.text
  %d = data.apply "shorten"(%b) function "shorten" {core_s = 0.004 : f64} : (!agent.text) -> !agent.text
  %e = data.apply "ask"(%d) function "ask" {core_s = 0.005 : f64} : (!agent.text) -> !agent.messages
  func.return %e, %c : !agent.messages, !agent.text
}
// CHECK:      %b = data.apply "lower"(%question) function "trim | lower" {core_s = 3.000000e-03 : f64}
// CHECK-NEXT: %c = data.apply "note"(%b)
// CHECK-NEXT: %e = data.apply "ask"(%b) function "shorten | ask" {core_s = 9.000000e-03 : f64} : (!agent.text) -> !agent.messages
// CHECK-NEXT: func.return %e, %c
