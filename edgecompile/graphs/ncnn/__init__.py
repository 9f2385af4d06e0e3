"""Reading, making and rewriting ncnn models: a text of layers (`model.param`) and their weights (`model.bin`)."""

PARAM, BIN = "model.param", "model.bin"
