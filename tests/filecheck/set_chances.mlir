// RUN: weft opt %s -p 'set-workload{sizes="again.chance_1=0.75","route.chance_2=0.625"},block-frequency'
// Label 1 of a choice is its true side; of three ways, those that are not told keep their ratio: 2 to 1 of what is left.
func.func @loop(%question: !agent.text) -> !agent.text attributes {agent.graph} {
  cf.br ^turn(%question : !agent.text)
^turn(%now: !agent.text):
  %again = agent.choose "again"(%now) function "again" {core_s = 1.0e-3 : f64} : (!agent.text) -> i1
  cf.cond_br %again, ^body, ^way {agent.weights = [0.5, 0.5], agent.at_most = 1 : i64}
^body:
  %next = tool.invoke "look_up"(%now) tool "search" {corpus = "c", core_s = 1.0e-3 : f64} : (!agent.text) -> !agent.text
  cf.br ^turn(%next : !agent.text)
^way:
  %route = agent.choose "route"(%now) function "route" {core_s = 1.0e-3 : f64, labels = ["end", "ask", "other"]} : (!agent.text) -> i32
  cf.switch %route : i32, [default: ^end, 1: ^ask, 2: ^other] {agent.weights = [0.5, 0.25, 0.25]}
^ask:
  %asked = tool.invoke "asked"(%now) tool "search" {corpus = "c", core_s = 1.0e-3 : f64} : (!agent.text) -> !agent.text
  cf.br ^end
^other:
  %more = tool.invoke "more"(%now) tool "search" {corpus = "c", core_s = 1.0e-3 : f64} : (!agent.text) -> !agent.text
  cf.br ^end
^end:
  func.return %now : !agent.text
}
// CHECK: agent.choose "again"
// CHECK-SAME: visits = 1.75
// CHECK: agent.weights = [7.500000e-01 : f64, 2.500000e-01 : f64]
// CHECK: tool.invoke "look_up"
// CHECK-SAME: visits = 7.5
// CHECK: agent.weights = [2.500000e-01 : f64, 1.250000e-01 : f64, 6.250000e-01 : f64]
