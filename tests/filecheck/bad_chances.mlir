// RUN: weft opt %s -p 'set-workload{sizes="again.chance_0=0.5","again.chance_1=0.6"}'
// FAIL: sizes: again: has chances 0.5, 0.6; give numbers from 0 to 1 that sum to at most 1, or to 1 if every label is given
func.func @loop(%question: !agent.text) -> !agent.text attributes {agent.graph} {
  %again = agent.choose "again"(%question) function "again" {core_s = 1.0e-3 : f64} : (!agent.text) -> i1
  cf.cond_br %again, ^body, ^end {agent.weights = [0.5, 0.5]}
^body:
  %next = tool.invoke "look_up"(%question) tool "search" {corpus = "c", core_s = 1.0e-3 : f64} : (!agent.text) -> !agent.text
  cf.br ^end
^end:
  func.return %question : !agent.text
}
