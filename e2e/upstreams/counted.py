"""Runs llama-cpp-python's server, or `transformers serve`, as it is, and writes down what it makes: JSON objects with the
number of a generation, the model tokens of its prompt and those it made, as this server counts them. The last one of a
generation counts.

    python counted.py LINES {llama-cpp-python,transformers} ARGUMENT…
"""

import itertools
import json
import sys

LINES, SERVER = sys.argv[1:3]
sys.argv = [SERVER, *sys.argv[3:]]


numbers = itertools.count()


def write(generation, prompt, completion):
    with open(LINES, "a") as file:
        file.write(json.dumps({"generation": generation, "prompt": prompt, "completion": completion}) + "\n")


def llama_cpp_python():
    import llama_cpp
    import llama_cpp.server.__main__

    generate = llama_cpp.Llama.generate

    def counted(self, tokens, *more, **named):
        number, made = next(numbers), 0
        write(number, len(tokens), made)
        # Whoever leaves is noticed between two of them, and nobody is told.
        for token in generate(self, tokens, *more, **named):
            # Its end is no part of what this server counts.
            made += not llama_cpp.llama_vocab_is_eog(self._model.vocab, token)
            write(number, len(tokens), made)
            yield token

    llama_cpp.Llama.generate = counted
    llama_cpp.server.__main__.main()


def transformers():
    from transformers import GenerationMixin
    from transformers.cli.transformers import main

    generate = GenerationMixin.generate

    def counted(self, *more, **named):
        prompt, made = named["input_ids"].shape[-1], None
        try:
            sequences = generate(self, *more, **named)
            made = sequences.numel() - sequences.shape[0] * prompt
            return sequences
        finally:
            # Of one that was called off, what the server had counted by then.
            write(next(numbers), prompt, named["streamer"].total_tokens if made is None else made)

    GenerationMixin.generate = counted
    main()


{"llama-cpp-python": llama_cpp_python, "transformers": transformers}[SERVER]()
