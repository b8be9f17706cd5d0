using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Vmm.Devices.Native;
using Vmm.Events;
using Vmm.Fuzz.Native;

namespace Vmm.Fuzz;

/// <summary>
/// The target's side of AFL's fork server protocol, without the fork: inputs come one after the other to this process, and a broken promise
/// is reported as the death of a child (AFL++, docs/afl-fuzz_approach.md and instrumentation/README.persistent_mode.md).
/// </summary>
internal sealed class AflServer(FuzzTarget target)
{
    private const string SharedMemoryName = "__AFL_SHM_ID";
    private const int ControlFd = 198;
    private const int StatusFd = 199;
    private const int InputBytesMax = 1 << 16;

    /// <summary>What waitpid(2) says of a process that ended well, and of one that SIGABRT ended.</summary>
    private const int Well = 0, Aborted = 6;

    private readonly byte[] _input = new byte[InputBytesMax];
    private readonly Tally _tally = new();

    /// <summary>Serves until AFL goes.</summary>
    internal void Run()
    {
        string? id = Environment.GetEnvironmentVariable(SharedMemoryName);
        if (id is null)
            throw new InvalidOperationException($"{SharedMemoryName} is not set: afl-fuzz starts this, see tools/fuzz.sh --coverage");
        using SafeFileHandle standardInput = new(0, ownsHandle: false);
        SharedMemory map = SharedMemory.Attach(int.Parse(id, CultureInfo.InvariantCulture), CoverageMap.Length);
        IFuzzTarget running = target.Make(_tally);
        Report(0);
        for (int left = FuzzRun.ExecutionsPerTarget; IsAsked(); left--)
        {
            Report(Environment.ProcessId);
            bool kept = Execute(running, Read(standardInput));
            CoverageMap.Take(map.Bytes);
            if (!kept || left == 0)
            {
                Renew(ref running);
                left = FuzzRun.ExecutionsPerTarget;
            }
            Report(kept ? Well : Aborted);
        }
    }

    private static bool Execute(IFuzzTarget running, ReadOnlyMemory<byte> input)
    {
        CoverageMap.Clear();
        try
        {
            running.Run(new FuzzInput(input));
            return true;
        }
        catch (Exception broken) when (broken is not OutOfMemoryException)
        {
            return false;
        }
    }

    private void Renew(ref IFuzzTarget running)
    {
        try
        {
            running.Dispose();
        }
        catch (Exception broken) when (broken is not OutOfMemoryException)
        {
            // A target that broke a promise may not come to an end in order either.
        }
        running = target.Make(_tally);
    }

    private ReadOnlyMemory<byte> Read(SafeFileHandle file) => _input.AsMemory(0, RandomAccess.Read(file, _input, fileOffset: 0));

    /// <summary>Waits for the next order; false if AFL is gone.</summary>
    private static bool IsAsked()
    {
        Span<byte> word = stackalloc byte[sizeof(int)];
        return StreamCalls.Read(ControlFd, word, out int length) == Errno.None && length == word.Length;
    }

    private static void Report(int word) => StreamCalls.Write(StatusFd, BitConverter.GetBytes(word), out _);
}
