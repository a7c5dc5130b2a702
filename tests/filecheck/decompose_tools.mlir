// RUN: weft opt %s -p annotate-costs,decompose-tools
// A tool with a corpus fetches, one without computes; lookup_share says that a tool does both, and how its time falls.
func.func @ask(%q: !agent.text) -> !agent.text attributes {agent.graph} {
  %found = tool.invoke "search"(%q) tool "search" {corpus = "web", core_s = 0.02 : f64} : (!agent.text) -> !agent.text
  %sum = tool.invoke "add"(%found) tool "calculator" {core_s = 0.001 : f64} : (!agent.text) -> !agent.text
  %table = tool.invoke "report"(%sum) tool "sql" {corpus = "sales", core_s = 1.0 : f64, lookup_share = 0.75 : f64} : (!agent.text) -> !agent.text
  func.return %table : !agent.text
}
// CHECK:      %found = tool.lookup "search"(%q) tool "search" {corpus = "web", core_s = 2.000000e-02 : f64
// CHECK-NEXT: %sum = tool.compute "add"(%found) tool "calculator"
// CHECK-NEXT: %report_lookup = tool.lookup "report.lookup"(%sum) tool "sql"
// CHECK-SAME: core_s = 7.500000e-01 : f64, cost = {core_s = 7.500000e-01 : f64}} : (!agent.text) -> !agent.docs
// CHECK-NEXT: %table = tool.compute "report.compute"(%report_lookup) tool "sql"
// CHECK-SAME: core_s = 2.500000e-01 : f64, cost = {core_s = 2.500000e-01 : f64}} : (!agent.docs) -> !agent.text
