"""The atlas of reference cases: the heads of its space, and a retriever trained with the reader."""
