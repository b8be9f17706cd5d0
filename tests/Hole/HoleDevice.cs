using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vmm.Devices;

namespace Vmm.Hole;

/// <summary>
/// A device with a hole in it: it does what the guest's bytes say, as native calls of this process and with its memory. No test of what a
/// sandbox stops can be better than what an attacker has who took a device over.
/// </summary>
internal sealed unsafe partial class HoleDevice : VirtioDevice
{
    internal const long Call = 0, Write = 1, Read = 2, Memory = 3, CallElsewhere = 4;
    private const int MemoryBytes = 1 << 20;
    private const long Fork = 57, ExitGroup = 231;

    private static readonly byte* Scratch = (byte*)NativeMemory.AlignedAlloc(MemoryBytes, 4096);

    /// <summary>What another device of this process has in memory.</summary>
    internal static long NeighbourMemory { get; } = (long)NativeMemory.AlignedAlloc(4096, 4096);

    public HoleDevice() : base((VirtioDeviceType)63, "hole", configLength: 4) => AddQueue("calls", sizeMax: 64, Serve);

    private void Serve(QueueContext context)
    {
        while (context.Queue.TryPop(out DescriptorChain? chain))
        {
            byte[] request = new byte[chain.Readable.Remaining], answer = new byte[chain.Writable.Remaining];
            chain.Readable.TryRead(request);
            Do(request, answer);
            chain.Writable.TryWrite(answer);
            context.Queue.Push(chain, (uint)answer.Length);
        }
    }

    /// <summary>Eight numbers, then bytes: what to do, and with what.</summary>
    private static void Do(byte[] request, byte[] answer)
    {
        long[] n = MemoryMarshal.Cast<byte, long>(request.AsSpan(0, 64)).ToArray();
        switch (n[0])
        {
            case Call:
                long result = SystemCall(n[1], n[2], n[3], n[4], n[5], n[6], n[7]);
                if (result < 0) result = -Marshal.GetLastPInvokeError();
                if (n[1] == Fork && result == 0) _ = SystemCall(ExitGroup, 0, 0, 0, 0, 0, 0);
                MemoryMarshal.Write(answer, result);
                break;
            // On the thread that calls finalizers, which was there before the sandbox.
            case CallElsewhere:
                MemoryMarshal.Write(answer, Finalized.Run(() => SystemCall(n[1], n[2], n[3], n[4], n[5], n[6], n[7]) is >= 0 and var value
                    ? value : -Marshal.GetLastPInvokeError()));
                break;
            case Write: request.AsSpan(64).CopyTo(new Span<byte>((void*)n[1], request.Length - 64)); break;
            case Read: new Span<byte>((void*)n[1], answer.Length).CopyTo(answer); break;
            case Memory: MemoryMarshal.Write(answer, (long)Scratch); break;
        }
    }

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial long SystemCall(long number, long a, long b, long c, long d, long e, long f);

    /// <summary>Does something in a finalizer.</summary>
    private sealed class Finalized(Func<long> work)
    {
        private static long _result;

        ~Finalized() => _result = work();

        internal static long Run(Func<long> work)
        {
            Abandon(work);
            GC.Collect();
            GC.WaitForPendingFinalizers();
            return _result;
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void Abandon(Func<long> work) => _ = new Finalized(work);
    }
}
