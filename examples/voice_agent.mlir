// What `weft.agent` makes of voice_agent.py; a test keeps the two equal.
builtin.module {
  func.func @voice(%speech: !agent.audio) -> !agent.audio attributes {agent.graph, agent.source = "examples/voice_agent.py"} {
    %0 = media.transcribe "hear"(%speech) {model = "tiny-stt", core_s = 6.000000e-02 : f64} : (!agent.audio) -> !agent.text
    %chat = data.apply "ask"(%0) function "ask" {core_s = 1.000000e-04 : f64} : (!agent.text) -> !agent.messages
    cf.br ^think(%chat : !agent.messages)
  ^think(%chat_1: !agent.messages):
    %reply = llm.call "think"(%chat_1) model "llama-3-8b" {isl = 350 : i64, osl = 40 : i64, max_tokens = 96 : i64} : (!agent.messages) -> !agent.text
    %1 = agent.choose "wants_search"(%reply) function "wants_search" {core_s = 1.000000e-04 : f64} : (!agent.text) -> i1
    cf.cond_br %1, ^query, ^final_words {agent.weights = [5.000000e-01 : f64, 5.000000e-01 : f64], agent.at_most = 3 : i64}
  ^query:
    %2 = data.apply "query"(%reply) function "query" {core_s = 1.000000e-04 : f64} : (!agent.text) -> !agent.text
    %3 = tool.invoke "look_up"(%2) tool "search" {corpus = "hardware", core_s = 2.000000e-03 : f64} : (!agent.text) -> !agent.text
    %chat_2 = data.apply "read"(%chat_1, %reply, %3) function "read" {core_s = 1.000000e-04 : f64} : (!agent.messages, !agent.text, !agent.text) -> !agent.messages
    cf.br ^think(%chat_2 : !agent.messages)
  ^final_words:
    %4 = data.apply "final_words"(%reply) function "final_words" {core_s = 1.000000e-04 : f64} : (!agent.text) -> !agent.text
    %5 = media.synthesize "speak"(%4) {voice = "en-us", core_s = 4.000000e-02 : f64} : (!agent.text) -> !agent.audio
    func.return %5 : !agent.audio
  }
}
