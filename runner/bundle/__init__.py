"""A commit's tree and what was tested of it in, the zip that Elastic Beanstalk runs out. Pure."""
