using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using System.Net.Security;
using System.Net.Sockets;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>The bytes of a handshake, which all have to come within one time.</summary>
internal sealed class NbdStream : IDisposable
{
    private readonly long _start = Stopwatch.GetTimestamp();
    private readonly TimeSpan _patience;
    private OwnedFd? _socket;
    private SslStream? _tls;

    /// <param name="socket">Taken over.</param>
    /// <param name="patience">Longest time for everything.</param>
    internal NbdStream(OwnedFd socket, TimeSpan patience)
    {
        _socket = socket;
        _patience = patience;
    }

    private NbdStream(SslStream tls, TimeSpan patience)
    {
        _tls = tls;
        _patience = patience;
    }

    private TimeSpan Left => _patience - Stopwatch.GetElapsedTime(_start) is { } left && left > TimeSpan.Zero ? left
        : throw new NbdProtocolException($"does not finish its handshake within {_patience.TotalSeconds:0} s");

    /// <summary>Fills a span.</summary>
    /// <exception cref="IOException">The server hung up, or the time is up.</exception>
    internal void Read(Span<byte> bytes)
    {
        if (_tls is { } tls)
        {
            byte[] read = new byte[bytes.Length];
            Await(cancellation => tls.ReadExactlyAsync(read, cancellation).AsTask(), Left);
            read.CopyTo(bytes);
            return;
        }
        while (bytes.Length > 0)
        {
            if (!StreamSocket.WaitReadable(_socket!.Number, Left)) continue;
            Errno error = StreamCalls.Read(_socket.Number, bytes, out int read);
            if (error is Errno.Again or Errno.Interrupted) continue;
            if (error != Errno.None) throw new NbdProtocolException($"broke off its handshake: {KernelException.Describe(error)}");
            if (read == 0) throw new NbdProtocolException("hangs up in its handshake");
            bytes = bytes[read..];
        }
    }

    /// <summary>Writes a span.</summary>
    /// <exception cref="IOException">The server hung up, or the time is up.</exception>
    internal void Write(ReadOnlySpan<byte> bytes)
    {
        if (_tls is { } tls)
        {
            byte[] written = bytes.ToArray();
            Await(cancellation => tls.WriteAsync(written, cancellation).AsTask(), Left);
            return;
        }
        while (bytes.Length > 0)
        {
            if (!StreamSocket.WaitWritable(_socket!.Number, Left)) continue;
            Errno error = StreamCalls.Send(_socket.Number, bytes, out int written);
            if (error is Errno.Again or Errno.Interrupted) continue;
            if (error != Errno.None) throw new NbdProtocolException($"broke off its handshake: {KernelException.Describe(error)}");
            bytes = bytes[written..];
        }
    }

    /// <summary>Goes on in TLS. This object is empty after.</summary>
    /// <exception cref="System.Security.Authentication.AuthenticationException">One of the two does not like the other's
    /// certificate.</exception>
    [SuppressMessage("Reliability", "CA2000:Dispose objects before losing scope", Justification = "Each owns the one before.")]
    internal NbdStream Secure(SslClientAuthenticationOptions options)
    {
        OwnedFd socket = Take();
        SafeSocketHandle handle = new(socket.Number, ownsHandle: true);
        socket.SetHandleAsInvalid();
        SslStream tls = new(new NetworkStream(new Socket(handle), ownsSocket: true));
        try
        {
            Await(cancellation => tls.AuthenticateAsClientAsync(options, cancellation), Left);
            return new NbdStream(tls, _patience);
        }
        catch
        {
            tls.Dispose();
            throw;
        }
    }

    /// <summary>The handshake is over: gives out the connection, which over TLS is our end of a tunnel.</summary>
    internal OwnedFd Take()
    {
        if (_tls is { } tls)
        {
            _tls = null;
            return NbdTunnel.Dig(tls);
        }
        OwnedFd socket = _socket!;
        _socket = null;
        return socket;
    }

    /// <summary>Waits for an operation of TLS. The socket never blocks, so that these have no blocking form.</summary>
    private static void Await(Func<CancellationToken, Task> operation, TimeSpan left)
    {
        using CancellationTokenSource end = new(left);
        try
        {
            operation(end.Token).GetAwaiter().GetResult();
        }
        catch (OperationCanceledException)
        {
            throw new NbdProtocolException("does not finish its handshake in time");
        }
        catch (EndOfStreamException)
        {
            throw new NbdProtocolException("hangs up in its handshake");
        }
    }

    public void Dispose()
    {
        _tls?.Dispose();
        _socket?.Dispose();
    }
}
