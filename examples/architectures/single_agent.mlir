// Figure 1, single agent with tools: one model decides after each thought whether to answer or which tool to call.
// Figure 7 builds this one from Agent(tools=[Search(), Calculator()], memory=ConversationBuffer()).run(query).
func.func @assistant(%query: !agent.text) -> !agent.text attributes {agent.graph} {
  %question = agent.input "query"(%query) {core_s = 1.0e-4 : f64} : (!agent.text) -> !agent.text
  %chat = mem.load "recall"(%question) from "conversation" {core_s = 1.0e-3 : f64} : (!agent.text) -> !agent.messages
  cf.br ^think(%chat : !agent.messages)

^think(%context: !agent.messages):
  %reply = llm.call "think"(%context) model "llama-3-8b" {isl = 600 : i64, osl = 80 : i64, max_tokens = 256 : i64} : (!agent.messages) -> !agent.text
  %next = agent.choose "route"(%reply) function "tool_of" {labels = ["answer", "search", "calculate"], core_s = 1.0e-4 : f64} : (!agent.text) -> i32
  // Half of the thoughts are the answer; after six tool calls the seventh must be.
  cf.switch %next : i32, [
    default: ^answer,
    1: ^search,
    2: ^calculate
  ] {agent.weights = [0.5 : f64, 0.35 : f64, 0.15 : f64], agent.at_most = 6 : i64}

^search:
  %words = data.apply "search_words"(%reply) function "arguments" {core_s = 1.0e-4 : f64} : (!agent.text) -> !agent.text
  %passages = tool.invoke "search"(%words) tool "search" {corpus = "web", core_s = 2.0e-2 : f64} : (!agent.text) -> !agent.docs
  %read = data.apply "read"(%context, %reply, %passages) function "append" {core_s = 1.0e-4 : f64} : (!agent.messages, !agent.text, !agent.docs) -> !agent.messages
  cf.br ^think(%read : !agent.messages)

^calculate:
  %formula = data.parse "formula"(%reply) function "arguments" {core_s = 1.0e-4 : f64} : (!agent.text) -> !agent.json
  %number = tool.invoke "calculate"(%formula) tool "calculator" {core_s = 1.0e-3 : f64} : (!agent.json) -> !agent.json
  %noted = data.apply "note"(%context, %reply, %number) function "append" {core_s = 1.0e-4 : f64} : (!agent.messages, !agent.text, !agent.json) -> !agent.messages
  cf.br ^think(%noted : !agent.messages)

^answer:
  %kept = mem.store "remember"(%reply) into "conversation" {core_s = 1.0e-3 : f64} : (!agent.text) -> !agent.text
  func.return %kept : !agent.text
}
