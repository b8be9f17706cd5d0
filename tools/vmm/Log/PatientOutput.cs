using System.Text;
using Vmm.Devices;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>
/// Lines for a descriptor whose reader may stand still: a full pipe or socket never holds up the thread that has something to say. What
/// there is no room for waits in memory for a thread that may wait; what is beyond its bound is dropped, and a line says how much that
/// was. Thread-safe.
/// </summary>
/// <remarks>
/// A stream of the console is no place to wait: while one of them is full, the runtime lets no thread write to another.
/// </remarks>
/// <param name="output">The descriptor.</param>
/// <param name="describeDropped">The line that says how many lines were dropped.</param>
internal sealed class PatientOutput(ISerialOutput output, Func<long, string> describeDropped)
{
    /// <summary>Most bytes that wait: some hundred lines.</summary>
    internal const int WaitingBytesMax = 64 * 1024;

    /// <summary>How long the end of the process waits for the reader.</summary>
    private static readonly TimeSpan LastPatience = TimeSpan.FromSeconds(1);

    private readonly Lock _lock = new();
    private readonly Queue<byte[]> _waiting = new();
    private Thread? _writer;
    private int _waitingBytes;
    private long _dropped;
    private bool _endIsWatched;

    /// <summary>Writes a line now or later, or drops it.</summary>
    internal void WriteLine(string line)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(line + '\n');
        lock (_lock)
        {
            if (_writer is null)
            {
                int written = WriteNow(bytes);
                if (written == bytes.Length) return;
                Enqueue(bytes[written..]);
                BeginToWait();
            }
            else if (_waitingBytes + bytes.Length > WaitingBytesMax)
            {
                _dropped++;
            }
            else
            {
                Enqueue(bytes);
            }
        }
    }

    /// <summary>Waits until everything is written.</summary>
    /// <returns>False if the time was up.</returns>
    internal bool Flush(TimeSpan patience)
    {
        Thread? writer;
        lock (_lock) writer = _writer;
        return writer is null || writer.Join(patience);
    }

    /// <returns>How much was written; all of it if the reader is gone.</returns>
    private int WriteNow(ReadOnlySpan<byte> bytes)
    {
        int done = 0;
        while (done < bytes.Length)
        {
            Errno errno = output.Write(bytes[done..], out int written);
            if (errno == Errno.Again) return done;
            if (errno is not (Errno.None or Errno.Interrupted)) return bytes.Length;
            done += written;
        }
        return done;
    }

    private void Enqueue(byte[] bytes)
    {
        _waiting.Enqueue(bytes);
        _waitingBytes += bytes.Length;
    }

    private void BeginToWait()
    {
        if (!_endIsWatched) AppDomain.CurrentDomain.ProcessExit += (_, _) => Flush(LastPatience);
        _endIsWatched = true;
        _writer = new Thread(WriteWaiting) { IsBackground = true, Name = "patient output" };
        _writer.Start();
    }

    private void WriteWaiting()
    {
        while (TakeNext() is { } next)
        {
            for (int done = 0; (done += WriteNow(next.AsSpan(done))) < next.Length;)
                SerialOutput.WaitForRoom(output, Timeout.InfiniteTimeSpan);
        }
    }

    /// <returns>Null if there is nothing left: from then on lines are written at once.</returns>
    private byte[]? TakeNext()
    {
        lock (_lock)
        {
            if (_waiting.TryDequeue(out byte[]? next))
            {
                _waitingBytes -= next.Length;
                return next;
            }
            if (_dropped == 0)
            {
                _writer = null;
                return null;
            }
            string sentence = describeDropped(_dropped);
            _dropped = 0;
            return Encoding.UTF8.GetBytes(sentence + '\n');
        }
    }
}
