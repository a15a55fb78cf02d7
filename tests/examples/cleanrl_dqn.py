"""DQN on a Gymnasium task in one file, in the manner of CleanRL; its replay is one argument.

    python tests/examples/cleanrl_dqn.py --replay amper-fr
    python tests/examples/cleanrl_dqn.py --replay per --env-id Acrobot-v1 --total-timesteps 100000

Prints the mean return of every 20 episodes, and at the end that of the greedy policy on fresh episodes.
"""

import argparse
import dataclasses

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import nn

import amper


@dataclasses.dataclass
class Args:
    """Settings of a run: each is an argument of the command line."""

    replay: str = "amper-fr"  # uniform | per | per-rank | amper-k | amper-fr
    env_id: str = "CartPole-v1"
    seed: int = 0
    total_timesteps: int = 30_000
    num_envs: int = 1
    buffer_size: int = 20_000
    learning_rate: float = 5e-4
    gamma: float = 0.99
    n_step: int = 1
    batch_size: int = 128
    learning_starts: int = 1_000
    train_frequency: int = 2  # environment steps an update
    target_frequency: int = 50  # updates between two copies into the target network
    start_epsilon: float = 1.0
    end_epsilon: float = 0.05
    exploration_fraction: float = 0.3
    alpha: float = 0.6  # of the priorities
    start_beta: float = 0.4  # of the importance weights; 1.0 at the end of the run
    eval_episodes: int = 20


def parse(argv: list[str] | None) -> Args:
    """Return the arguments of a command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in dataclasses.fields(Args):
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=type(field.default), default=field.default, help=f"default {field.default}")
    return Args(**vars(parser.parse_args(argv)))


class QNetwork(nn.Module):
    """Two hidden layers from an observation to one value an action."""

    def __init__(self, n_inputs: int, n_actions: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_inputs, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, n_actions)
        )  # fmt: skip

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        """Return float[b, n_actions]."""
        return self.layers(obs)

    @torch.no_grad()
    def greedy(self, obs: np.ndarray) -> np.ndarray:
        """Return the best action of each row."""
        return self(torch.as_tensor(obs)).argmax(dim=1).numpy()


def epsilon_at(args: Args, step: int) -> float:
    """Return the chance of a random action: it falls in a straight line and then stays."""
    done = min(1.0, step / (args.exploration_fraction * args.total_timesteps))
    return args.start_epsilon + done * (args.end_epsilon - args.start_epsilon)


def learn(batch: dict, online: QNetwork, target: QNetwork, optimizer: torch.optim.Optimizer) -> np.ndarray:
    """Take one gradient step and return the TD error of each transition."""
    columns = {name: torch.as_tensor(column) for name, column in batch.items()}
    with torch.no_grad():
        # `discount` is gamma to the number of steps, and 0 where the episode terminated: a time limit bootstraps.
        goal = columns["reward"] + columns["discount"] * target(columns["next_obs"]).amax(dim=1)
    value = online(columns["obs"]).gather(1, columns["action"][:, None])[:, 0]
    loss = (columns["weights"] * nn.functional.smooth_l1_loss(value, goal, reduction="none")).mean()
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(online.parameters(), 10.0)
    optimizer.step()
    return (goal - value.detach()).numpy()


def evaluate(network: QNetwork, args: Args) -> float:
    """Return the mean return of the greedy policy on episodes that no training saw."""
    env = gymnasium.make(args.env_id)
    returns = []
    for episode in range(args.eval_episodes):
        obs, _ = env.reset(seed=1_000_000 + 1_000 * args.seed + episode)
        total, ended = 0.0, False
        while not ended:
            obs, reward, terminated, truncated, _ = env.step(network.greedy(obs[None])[0])
            total, ended = total + float(reward), terminated or truncated
        returns.append(total)
    env.close()
    return float(np.mean(returns))


def main(argv: list[str] | None = None) -> float:
    """Train, report, and return the mean return of the greedy policy."""
    args = parse(argv)
    rng = np.random.default_rng(args.seed)
    torch.manual_seed(args.seed)
    make_env = lambda: gymnasium.make(args.env_id)  # noqa: E731
    envs = SyncVectorEnv([make_env] * args.num_envs, autoreset_mode=AutoresetMode.SAME_STEP)
    n_actions = int(envs.single_action_space.n)
    online, target = (QNetwork(envs.single_observation_space.shape[0], n_actions) for _ in range(2))
    target.load_state_dict(online.state_dict())
    optimizer = torch.optim.Adam(online.parameters(), lr=args.learning_rate)

    buffer = amper.ReplayBuffer.for_env(
        envs,
        args.buffer_size,
        sampler=args.replay,
        alpha=args.alpha,
        beta=amper.Linear(args.start_beta, 1.0, args.total_timesteps),
        n_step=args.n_step,
        discount=args.gamma,
        seed=args.seed,
    )

    returns, running, n_updates = [], np.zeros(args.num_envs), 0
    obs, _ = envs.reset(seed=args.seed)
    for step in range(args.num_envs, args.total_timesteps + 1, args.num_envs):
        action = online.greedy(obs)
        explores = rng.random(args.num_envs) < epsilon_at(args, step)
        action = np.where(explores, rng.integers(n_actions, size=args.num_envs), action)
        next_obs, reward, terminated, truncated, infos = envs.step(action)

        ended = np.flatnonzero(terminated | truncated)
        led_to = next_obs.copy()  # where an episode ended, next_obs is already the first of the next one
        for env in ended:
            led_to[env] = infos["final_obs"][env]
        buffer.add(
            obs=obs, action=action, reward=reward, next_obs=led_to, terminated=terminated, truncated=truncated
        )  # fmt: skip
        obs = next_obs

        running += reward
        for env in ended:
            returns.append(running[env])
            running[env] = 0.0
            if len(returns) % 20 == 0:
                print(f"step {step:7,}  episode {len(returns):5,}  mean return {np.mean(returns[-20:]):7.1f}")

        for _ in range((step - args.learning_starts) // args.train_frequency - n_updates):
            batch = buffer.sample(args.batch_size)
            td_errors = learn(batch, online, target, optimizer)
            buffer.update_priorities(batch["indices"], abs(td_errors))
            n_updates += 1
            if n_updates % args.target_frequency == 0:
                target.load_state_dict(online.state_dict())
    envs.close()

    mean = evaluate(online, args)
    print(f"{args.env_id}  {args.replay}  seed {args.seed}: mean return of the greedy policy {mean:.1f}")
    return mean


if __name__ == "__main__":
    main()
