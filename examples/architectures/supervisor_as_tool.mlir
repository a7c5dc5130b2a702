// Figure 1, supervisor as tool: the supervisor is a model with tools, and its tools are agents. It may call several at
// once: agent.map runs one worker for each call in its reply, side by side (two on average).
func.func @travel(%request: !agent.text) -> !agent.text attributes {agent.graph} {
  %chat = data.apply "open"(%request) function "open" {core_s = 1.0e-4 : f64} : (!agent.text) -> !agent.messages
  cf.br ^agent(%chat : !agent.messages)

^agent(%state: !agent.messages):
  %reply = llm.call "agent"(%state) model "llama-3-70b" {isl = 900 : i64, osl = 90 : i64, max_tokens = 300 : i64} : (!agent.messages) -> !agent.text
  %calls = agent.choose "calls_tools"(%reply) function "has_tool_calls" {core_s = 1.0e-4 : f64} : (!agent.text) -> i1
  cf.cond_br %calls, ^tools, ^answer {agent.weights = [0.6 : f64, 0.4 : f64], agent.at_most = 5 : i64}

^tools:
  %orders = data.apply "orders"(%reply) function "tool_calls" {core_s = 1.0e-4 : f64} : (!agent.text) -> !agent.messages
  %results = agent.map "experts" @expert(%orders) {width = 2.0 : f64} : (!agent.messages) -> !agent.messages
  %next = data.apply "results"(%state, %results) function "append" {core_s = 1.0e-4 : f64} : (!agent.messages, !agent.messages) -> !agent.messages
  cf.br ^agent(%next : !agent.messages)

^answer:
  func.return %reply : !agent.text
}

// An agent that is a tool: it thinks, looks up, and reports.
func.func @expert(%order: !agent.messages) -> !agent.messages {
  %plan = llm.call "expert_plan"(%order) model "llama-3-8b" {isl = 400 : i64, osl = 50 : i64, max_tokens = 150 : i64} : (!agent.messages) -> !agent.text
  %offers = tool.invoke "find_offers"(%plan) tool "offers" {corpus = "offers", core_s = 3.0e-2 : f64} : (!agent.text) -> !agent.docs
  %asked = data.apply "expert_read"(%order, %offers) function "append" {core_s = 1.0e-4 : f64} : (!agent.messages, !agent.docs) -> !agent.messages
  %report = llm.call "expert_report"(%asked) model "llama-3-8b" {isl = 1400 : i64, osl = 120 : i64, max_tokens = 300 : i64} : (!agent.messages) -> !agent.text
  %told = data.apply "expert_tell"(%report) function "tool_message" {core_s = 1.0e-4 : f64} : (!agent.text) -> !agent.messages
  func.return %told : !agent.messages
}
