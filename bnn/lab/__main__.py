"""Entry of `python -m bnn.lab`: bias and variance of gradient estimators."""

from bnn.lab.questions.bias_and_variance import main

if __name__ == "__main__":
    main()
