using System.Runtime.InteropServices;

namespace Vmm.Tests;

/// <summary>
/// A litmus test of a fence: two sides store and then load, at the same moment on two processors, each bound to one of its own, a hundred
/// thousand times, or as often as VMM_LITMUS_ROUNDS says. Without its fence the load of a side passes its store now and then, and both
/// sides miss the other. The other side's store is held up behind stores to memory that this side has in its cache: a load that may pass it
/// does so for longer.
/// </summary>
internal static partial class Litmus
{
    private static readonly int Rounds =
        int.TryParse(Environment.GetEnvironmentVariable("VMM_LITMUS_ROUNDS"), out int given) ? given : 100_000;

    /// <summary>Longest delay of this side, in looks at a number: how soon the other processor sees the start differs.</summary>
    private const int DelayMax = 4096;

    /// <summary>A delay changes by so much at most in a round, so that it hovers about the moment at which both come together.</summary>
    private const int StepMax = 16;

    private const int LineBytes = 64, LinesAhead = 24;

    /// <summary>Runs both sides at once, again and again. One of them must notice the other each time.</summary>
    /// <param name="before">Prepares a round, on the calling thread.</param>
    /// <param name="here">The side of the calling thread; whether it noticed the other.</param>
    /// <param name="there">The side of another thread.</param>
    /// <param name="after">Ends a round, on the calling thread.</param>
    internal static void Race(Action before, Func<bool> here, Func<bool> there, Action after)
    {
        int started = 0, finished = 0, delay = 0;
        bool isNoticedThere = false;
        byte[] lines = new byte[LineBytes * LinesAhead];
        Thread other = new(() =>
        {
            using Binding bound = Binding.OfThisThread(1);
            for (int round = 1; round <= Rounds; round++)
            {
                WaitUntil(ref started, round);
                if (Volatile.Read(ref started) < 0) return;
                Touch(lines);
                isNoticedThere = there();
                Volatile.Write(ref finished, round);
            }
        })
        { IsBackground = true };
        other.Start();
        using Binding binding = Binding.OfThisThread(0);
        try
        {
            for (int round = 1; round <= Rounds; round++)
            {
                before();
                Touch(lines);
                Volatile.Write(ref started, round);
                for (int i = 0; i < delay; i++) _ = Volatile.Read(ref started);
                bool isNoticedHere = here();
                WaitUntil(ref finished, round);
                Assert.True(isNoticedHere || isNoticedThere, $"neither side noticed the other in round {round}");
                after();
                // Who saw the other came later.
                int step = 1 + round % StepMax;
                int change = isNoticedHere == isNoticedThere ? step / 2 - StepMax / 4 : isNoticedHere ? -step : step;
                delay = Math.Clamp(delay + change, 0, DelayMax);
            }
        }
        finally
        {
            Volatile.Write(ref started, -1);
            other.Join();
        }
    }

    /// <summary>A thread on one processor, where it may choose between two or more; its freedom comes back at the end.</summary>
    private sealed unsafe partial class Binding : IDisposable
    {
        private const int ThisThread = 0, Words = 16;

        private readonly ulong[] _before = new ulong[Words];

        /// <param name="which">Of the processors that the thread may use, from 0.</param>
        internal static Binding OfThisThread(int which)
        {
            Binding binding = new();
            // SAFETY: the kernel reads and writes as many bytes as are said, of an array that is pinned.
            fixed (ulong* before = binding._before) _ = GetAffinity(ThisThread, Words * sizeof(ulong), before);
            int[] usable = [.. Enumerable.Range(0, Words * 64).Where(cpu => (binding._before[cpu / 64] & (1UL << cpu)) != 0)];
            if (usable.Length < 2) return binding;
            ulong[] one = new ulong[Words];
            one[usable[which] / 64] = 1UL << usable[which];
            Set(one);
            return binding;
        }

        public void Dispose() => Set(_before);

        private static void Set(ulong[] processors)
        {
            // SAFETY: the kernel reads as many bytes as are said, of an array that is pinned.
            fixed (ulong* words = processors) _ = SetAffinity(ThisThread, Words * sizeof(ulong), words);
        }

        [LibraryImport("libc", EntryPoint = "sched_getaffinity")]
        private static partial int GetAffinity(int thread, nuint bytes, ulong* processors);

        [LibraryImport("libc", EntryPoint = "sched_setaffinity")]
        private static partial int SetAffinity(int thread, nuint bytes, ulong* processors);
    }

    private static void Touch(byte[] lines)
    {
        for (int i = 0; i < lines.Length; i += LineBytes) lines[i]++;
    }

    /// <summary>
    /// Waits for a number to become another one, or negative: as fast as can be, and without stopping a host that has one processor.
    /// </summary>
    private static void WaitUntil(ref int number, int wanted)
    {
        for (int looks = 1; Volatile.Read(ref number) is int now && now != wanted && now >= 0; looks++)
        {
            if (looks % 4096 == 0) Thread.Yield();
        }
    }
}
