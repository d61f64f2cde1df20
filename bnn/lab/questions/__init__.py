"""Commands of the lab, each of which measures one question and prints a page in Markdown."""

QUESTIONS = {
    "along_training": "How good are the gradients of each layer in the course of a training?",
    "coupling": "How biased is REINFORCE under batch norm above a binary layer?",
    "gradient_variance": "How noisy is each estimator's gradient in the course of its training?",
    "mirror_descent": "Is a step on latent weights mirror descent, and what does a clip do to it?",
    "slopes": "What does a steeper slope do to the gradient of straight-through?",
    "target": "Where does a training by a biased gradient stop?",
    "weights": "How far is the gradient of binary weights from the exact one, and how noisy is it?",
    "toy": "How large is the variance on the toy problem of REBAR and RELAX?",
}
"""Questions by the name of their command, `python -m bnn.lab.questions.NAME`."""
