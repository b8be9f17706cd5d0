using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Vmm.Devices;

namespace Vmm.Examples.Guide;

/// <summary>
/// Guide 3: a device with a host side. The driver gives buffers, and the host posts letters from any thread: each fills one buffer. Its
/// configuration says how many letters wait.
/// </summary>
public sealed class MailboxDevice : VirtioDevice
{
    private const ushort QueueSize = 64;
    private const int LettersMax = 1024;

    private readonly ConcurrentQueue<byte[]> _letters = new();
    private QueueContext? _queue;

    public MailboxDevice(string name) : base((VirtioDeviceType)62, name, configLength: sizeof(uint)) =>
        AddQueue("letters", QueueSize, Serve);

    /// <summary>Posts a letter. Any thread.</summary>
    /// <returns>False if the box is full: a guest that does not read costs the host no more than that.</returns>
    public bool TryPost(byte[] letter)
    {
        if (_letters.Count >= LettersMax) return false;
        _letters.Enqueue(letter);
        // Has the queue served soon, on its reactor's thread. Before there is a driver there is no queue: it starts with the letter.
        Volatile.Read(ref _queue)?.ServeSoon();
        return true;
    }

    private void Serve(QueueContext context)
    {
        Volatile.Write(ref _queue, context);
        // A buffer is only taken when there is a letter for it: what is popped has to be pushed.
        while (_letters.TryPeek(out byte[]? letter) && context.Queue.TryPop(out DescriptorChain? chain))
        {
            _letters.TryDequeue(out _);
            ChainWriter room = chain.Writable;
            context.Queue.Push(chain, (uint)room.CopyFrom(letter));
        }
        uint waiting = (uint)_letters.Count;
        Config.Update(0, MemoryMarshal.AsBytes(new ReadOnlySpan<uint>(in waiting)));
    }

    protected override void OnDriverGone() => Volatile.Write(ref _queue, null);
}
