"""Sans-I/O state machines that simulator and runtime both drive: no clock, no I/O, no randomness of their own.

Time, and 64 random bits where a policy wants them, are arguments; ties are broken by a counter.

    agent_run      which steps of an agent run are ready, what a completion enables
    batcher        which sequences one replica works on next (`sequence`: what it holds of each)
    kv_blocks      who holds which KV block, what is thrown out (`segments`: what is shared; `block_hash`: its names)
    prefix_index   which workers hold which prefix (`prefix_feed`: how nodes tell, and messages get lost;
                  `prompt_feed`: for a router without a tokenizer)
    block_value    which cached block goes first; how much of a prefix is worth fetching
    circuit        when to stop asking what does not answer (`silence`: how long a question may wait; `slowness`: who is
                  far behind its pool)
    router         which worker gets a request (`workers`: what is predicted of it; `baseline_routers`: to compare with)
    pairs          which prefill and which decode replica, when the cache moves between them
    priority       which step of which run goes first
    retention      what becomes of a cache during a tool call
    admission      take a request in, or refuse it at once
    fairness       which tenant's request is next
"""
