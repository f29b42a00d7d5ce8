"""``python -m loadtest.locust``: gevent takes the place of sockets and threads before anything else is imported."""

from gevent import monkey

monkey.patch_all()

from loadtest.locust.run import main  # noqa: E402

main()
